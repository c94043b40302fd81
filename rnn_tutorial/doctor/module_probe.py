"""A classifier as a black box: a private copy of any module, called on sequences made for it.

Shapes: N batch, T time, C classes. Inside, batches are always (N, T).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Call = Callable[[nn.Module, Tensor, Tensor], object]  # module, x, seq_lengths -> scores
CPU = torch.device("cpu")
LENGTHS = (3, 7, 1, 5, 7, 2, 6, 4, 5)  # unsorted, a single token, two full rows; N differs from T


class ModuleRaised(Exception):
    """The module raised an error on a valid batch."""


class WrongShape(Exception):
    """The module returned something other than scores of shape (N, C)."""


class Probe:
    """A private copy of a module in evaluation mode, and a batch of random sequences for it.

    The copy computes on the CPU in float64 if it can: then "equal" is sharp. Use it inside
    `undisturbed`.

    Args:
        module: see `check_module`, as for vocab_size.
        lengths: what lengths to try; by default 1 to 7, unsorted.
        batch_first: False if the module takes x as (T, N).
        padding_id: the id in the padding. By default vocab_size where the module's embedding has
            more rows than that, else the embedding's padding_idx, else 0.
        call: how to call a module with other conventions: a function of (module, x, seq_lengths)
            that returns scores (N, C).
        seed: of the random tokens and of everything random in the module.

    Attributes:
        module: the copy.
        tokens: random tokens, none of them padding, int64, (N, T).
        lengths: int64, (N,).
        token_ids: the ids that are tokens.
        tolerance: a difference in scores below this part of the largest score is rounding.
    """

    def __init__(
        self,
        module: nn.Module,
        vocab_size: int,
        *,
        lengths: Sequence[int] | None = None,
        batch_first: bool = True,
        padding_id: int | None = None,
        call: Call | None = None,
        seed: int = 0,
    ) -> None:
        self.is_padding_guessed = padding_id is None
        self.padding_id = _padding_id(module, vocab_size) if padding_id is None else padding_id
        self.token_ids = [i for i in range(vocab_size) if i != self.padding_id]
        if len(self.token_ids) < 2:
            raise ValueError(f"vocab_size {vocab_size} leaves no two tokens besides the padding")
        self.lengths = torch.tensor(_enough_rows(lengths or LENGTHS))
        drawn = torch.randint(
            len(self.token_ids),
            (len(self.lengths), int(self.lengths.max())),
            generator=torch.Generator().manual_seed(seed),
        )
        drawn[:, 0] = torch.arange(len(drawn)) % len(self.token_ids)  # rows differ, and
        drawn[self.lengths.argmax(), -1] = len(self.token_ids) - 1  # the largest id occurs
        self.tokens = torch.tensor(self.token_ids)[drawn]
        self._batch_first, self._seed, self._vocab_size = batch_first, seed, vocab_size
        self._call = call or (lambda module, x, seq_lengths: module(x, seq_lengths))
        self._settle(module)

    def _settle(self, module: nn.Module) -> None:
        """Copy the module to where it computes most exactly, if it computes at all."""
        tensors = [t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()]
        given = (tensors[0].device, tensors[0].dtype) if tensors else (CPU, torch.float32)
        for device, dtype in dict.fromkeys([(CPU, torch.float64), (CPU, given[1]), given]):
            for lengths_device in dict.fromkeys((CPU, device)):  # packing needs the CPU
                if self._computes(module, device, dtype, lengths_device):
                    return
        self._computes(module, *given, CPU)  # it does not: the first check says why

    def _computes(
        self, module: nn.Module, device: torch.device, dtype: torch.dtype, lengths_device: object
    ) -> bool:
        """Copy the module there; whether it can score the batch there."""
        self.device, self.dtype, self._lengths_device = device, dtype, lengths_device
        self.tolerance = torch.finfo(dtype).eps ** 0.5  # half of the digits
        self.module = _copied(module).to(device, dtype).eval()
        try:
            self.scores(*self.batch())
        except ModuleRaised:
            return False
        except WrongShape:
            pass
        return True

    def batch(
        self, tokens: Tensor | None = None, extra: int = 0, filler: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """The batch, padded: ids, (N, T + extra), and lengths, (N,).

        Args:
            tokens: other tokens, (N, T).
            extra: columns of padding beyond the longest row.
            filler: what is in the padding instead of padding_id.
        """
        filler = self.padding_id if filler is None else filler
        x = nn.functional.pad(self.tokens if tokens is None else tokens, (0, extra), value=filler)
        x[torch.arange(x.shape[1]) >= self.lengths[:, None]] = filler
        return x, self.lengths

    def full_batch(self, tokens: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The batch with every row of the greatest length, so that there is no padding in it."""
        x = self.tokens if tokens is None else tokens
        return x, torch.full_like(self.lengths, x.shape[1])

    def row(self, index: int) -> tuple[Tensor, Tensor]:
        """One row alone, as a batch of one without padding."""
        return self.tokens[index, None, : self.lengths[index]], self.lengths[index, None]

    def other_tokens(self, tokens: Tensor) -> Tensor:
        """Each token replaced by the next one of the vocabulary."""
        ids = torch.tensor(self.token_ids)
        return ids[(torch.searchsorted(ids, tokens.contiguous()) + 1) % len(ids)]

    def embedding(self) -> nn.Embedding | None:
        """The embedding of the tokens, if the copy has one."""
        return _token_embedding(self.module, self._vocab_size)

    def refreshed(self, seed: int = 0) -> Probe:
        """The same with the first weights of another seed, as far as PyTorch's layers make them.

        What is wrong for any weights is wrong in the code; the rest is what training did.
        """
        other = copy.copy(self)
        other.module = _copied(self.module)
        torch.manual_seed(seed)
        for part in other.module.modules():
            for name in ("reset_parameters", "_reset_parameters"):
                if hasattr(part, name):
                    getattr(part, name)()
        return other

    def scores(self, x: Tensor, lengths: Tensor, other_seed: bool = False) -> Tensor:
        """The module's scores, (N, C), with their graph for gradients.

        Sets `modified`, the names of the arguments that the module changed in place.

        Raises:
            ModuleRaised: with the error's text and what the batch was.
            WrongShape: the result is not of shape (N, C).
        """
        given = (x if self._batch_first else x.T).clone().to(self.device)
        given_lengths = lengths.clone().to(self._lengths_device)
        before = [given.clone(), given_lengths.clone()]
        torch.manual_seed(self._seed + other_seed)
        default_dtype = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)  # of torch.zeros(...) in the module's forward
        try:
            with warnings.catch_warnings(), torch.backends.cudnn.flags(enabled=False):
                warnings.simplefilter("ignore")
                scores = self._call(self.module, given, given_lengths)
        except Exception as error:
            message = str(error).strip().split("\n")[0]
            raise ModuleRaised(
                f"{type(error).__name__} on {len(x)} rows of lengths {lengths.tolist()} padded "
                f"to {x.shape[1]} columns: {message}"
            ) from error
        finally:
            torch.set_default_dtype(default_dtype)
        arguments = zip(("x", "seq_lengths"), before, (given, given_lengths), strict=True)
        self.modified = [name for name, old, new in arguments if not torch.equal(old, new)]
        if isinstance(scores, (tuple, list)) and scores:
            scores = scores[0]
        if not isinstance(scores, Tensor):
            raise WrongShape(f"the result is a {type(scores).__name__}")
        if scores.ndim != 2 or len(scores) != len(x):
            raise WrongShape(
                f"scores of shape {tuple(scores.shape)} for {len(x)} rows of {x.shape[1]} columns"
            )
        return scores

    def weighted_sum(self, x: Tensor, lengths: Tensor) -> Tensor:
        """A scalar that every score of the batch moves."""
        scores = self.scores(x, lengths)
        return (scores * weights_like(scores)).sum()

    def are_equal(self, scores: Tensor, others: Tensor) -> Tensor:
        """Whether rows of scores are the same but for rounding, (N,)."""
        return (scores - others).abs().amax(-1) <= self.tolerance * self._scale(scores)

    def are_touched(self, scores: Tensor, others: Tensor) -> Tensor:
        """Whether rows of scores differ by more than the last digits, (N,)."""
        smallest = 16 * torch.finfo(self.dtype).eps
        return (scores - others).abs().amax(-1) > smallest * self._scale(scores)

    def _scale(self, scores: Tensor) -> float:
        return max(float(scores.detach().abs().max()), torch.finfo(self.dtype).tiny)


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """The random numbers that the caller draws next are the same after this as without it."""
    devices = {t.device for t in (*module.parameters(), *module.buffers()) if t.is_cuda}
    with torch.random.fork_rng(devices), torch.enable_grad():
        yield


def _copied(module: nn.Module) -> nn.Module:
    """A deep copy, also of a module that keeps tensors with a history between calls."""
    memo: dict[int, object] = {}
    for part in module.modules():
        for value in vars(part).values():
            for tensor in value if isinstance(value, (tuple, list)) else (value,):
                if isinstance(tensor, Tensor) and not tensor.is_leaf:
                    memo[id(tensor)] = tensor.detach().clone()
    try:
        return copy.deepcopy(module, memo)
    except Exception as error:
        raise ValueError(f"the module cannot be copied: {error}") from error


def _padding_id(module: nn.Module, vocab_size: int) -> int:
    """What most likely is in the padding, by the embedding of the tokens."""
    embedding = _token_embedding(module, vocab_size)
    if embedding is None or embedding.num_embeddings > vocab_size:
        return vocab_size
    return embedding.padding_idx or 0


def _token_embedding(module: nn.Module, vocab_size: int) -> nn.Embedding | None:
    """The embedding that most likely is that of tokens, not of positions or segments."""
    found = [part for part in module.modules() if isinstance(part, nn.Embedding)]
    # V or V + 1 rows are preferred.
    return min(found, key=lambda e: abs(e.num_embeddings - vocab_size - 0.5), default=None)


def _enough_rows(lengths: Sequence[int]) -> list[int]:
    """The lengths, repeated to at least four rows and not as many as the longest has steps."""
    if not all(isinstance(n, int) and n >= 1 for n in lengths):
        raise ValueError(f"lengths {list(lengths)} must be whole numbers of at least 1")
    rows = max(4, len(lengths))
    rows += rows == max(lengths)
    return [lengths[i % len(lengths)] for i in range(rows)]


@contextmanager
def hooked(
    module: nn.Module, kinds: tuple[type, ...], hook: Callable, before: bool = False
) -> Iterator[None]:
    """Every part of these kinds calls the hook with (part, args, kwargs) and its result.

    With `before`, the hook is called before the part, without a result.
    """
    register = "register_forward_pre_hook" if before else "register_forward_hook"
    parts = [part for part in module.modules() if isinstance(part, kinds)]
    handles = [getattr(part, register)(hook, with_kwargs=True) for part in parts]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def weights_like(scores: Tensor) -> Tensor:
    """Fixed random weights for scores."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(scores.shape, generator=generator, dtype=torch.float64).to(scores)
