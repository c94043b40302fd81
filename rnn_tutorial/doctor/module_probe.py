"""A classifier as a black box: a private copy of any module, called on sequences made for it.

Shapes: N batch, T time, F features, C classes. Batches are ids, (N, T), of vectors too.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress

import torch
from torch import Tensor, nn

from rnn_tutorial.doctor import module_call, module_copy
from rnn_tutorial.doctor.findings import user_error
from rnn_tutorial.doctor.module_call import Call, CannotCall, ModuleRaised, Way, WrongShape
from rnn_tutorial.doctor.module_copy import copied, token_embedding, weights_like

LENGTHS = (3, 7, 1, 5, 7, 2, 6, 4, 5)  # unsorted, a single token, two full rows; N differs from T
EXTRA_COLUMNS = 3  # of padding
LONGER = 48  # steps: whole patches of 2, 3, 4, 6, 8, 12, 16
MADE_TOKENS = 12  # different vectors that sequences of real-valued features are made of


class Probe:
    """A private copy of a module in evaluation mode, and a batch of random sequences for it.

    The copy computes on the CPU in float64 if it can: then "equal" is sharp. Use it inside
    `undisturbed`. The batch is in `tokens`, int64, (N, T), each one of `token_ids`, and `lengths`,
    int64, (N,); behind the end of a row comes `padding_id`.

    Args:
        module: the classifier.
        vocab_size: token ids run from 0 to vocab_size - 1, without padding_id if that is in there.
        num_features: F of a module that takes vectors, float (N, T, F), in place of vocab_size.
            Their padding is zeros. Inside, an id stands for each of some random vectors.
        time_major: True if the module takes x as (T, N) or (T, N, F).
        padding_id: the id in the padding. By default vocab_size where the module's embedding has
            more rows than that, else the embedding's padding_idx, else 0.
        lengths: True if forward must get the lengths; False if it takes x alone, because all
            sequences have one length. By default it is found out, see `ways_to_call`.
        call: how to call a module with other conventions: a function of (module, x, lengths).
        seed: of the random tokens and of everything random in the module.

    Raises:
        CannotCall: no convention fits.
    """

    def __init__(
        self,
        module: nn.Module,
        vocab_size: int | None = None,
        *,
        num_features: int | None = None,
        time_major: bool = False,
        padding_id: int | None = None,
        lengths: bool | None = None,
        call: Call | None = None,
        seed: int = 0,
    ) -> None:
        if (vocab_size is None) == (num_features is None):
            raise ValueError("give one of vocab_size and num_features")
        for name, value in (("num_features", num_features), ("padding_id", padding_id)):
            if value is not None and value < (name == "num_features"):
                raise ValueError(f"{name} {value} is too small")
        self._table: Tensor | None = None
        # What was given as padding is no token.
        self.padding_is_told = padding_id is not None or num_features is not None
        if num_features is not None:
            padding_id = vocab_size = MADE_TOKENS
            generator = torch.Generator().manual_seed(seed)
            vectors = torch.randn(MADE_TOKENS, num_features, generator=generator)
            self._table = torch.cat([vectors, torch.zeros(1, num_features)]).double()
        if padding_id is None:
            embedding = token_embedding(module, vocab_size)
            has_row = embedding is None or embedding.num_embeddings > vocab_size
            padding_id = vocab_size if has_row else embedding.padding_idx or 0
        token_ids = [i for i in range(vocab_size) if i != padding_id]
        if len(token_ids) < 2 <= vocab_size and not self.padding_is_told:
            token_ids = [0, 1]  # one of them stands in the padding too: the lengths tell them
        if len(token_ids) < 2:
            raise ValueError(f"vocab_size {vocab_size} leaves no two tokens besides the padding")
        self.token_ids, self.padding_id, self.seed = token_ids, padding_id, seed
        self.original = module
        self.is_padded = lengths is not False  # else all sequences have one length
        self.time_major, self._vocab_size = time_major, vocab_size
        self.draw(LENGTHS if self.is_padded else (max(LENGTHS),) * len(LENGTHS))
        if call:
            ways = [("call", True, call)]
        else:
            padding_is_known = self.padding_is_told and num_features is None
            ways = [*module_call.ways_to_call(module, time_major, lengths, padding_is_known)]
        self._settle(ways)

    def draw(self, lengths: Sequence[int]) -> None:
        """Draw tokens for rows of these lengths."""
        self.lengths = torch.tensor(lengths)
        size, generator = (len(lengths), max(lengths)), torch.Generator().manual_seed(self.seed)
        drawn = torch.randint(len(self.token_ids), size, generator=generator)
        drawn[:, 0] = torch.arange(len(drawn)) % len(self.token_ids)  # rows differ, and
        drawn[self.lengths.argmax(), -1] = len(self.token_ids) - 1  # the largest id occurs
        self.tokens = torch.tensor(self.token_ids)[drawn]

    def batch(
        self, tokens: Tensor | None = None, extra: int = 0, filler: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """The batch, padded: ids, (N, T + extra), and lengths, (N,).

        With other tokens, (N, T), more columns of padding, or something else in the padding.
        """
        filler = self.padding_id if filler is None else filler
        x = nn.functional.pad(self.tokens if tokens is None else tokens, (0, extra), value=filler)
        x[torch.arange(x.shape[1]) >= self.lengths[:, None]] = filler
        return x, self.lengths

    def full_batch(self, steps: int | None = None) -> tuple[Tensor, Tensor]:
        """The batch without padding: every row has the greatest length, or so many steps of it."""
        tokens = self.tokens[:, :steps]
        return tokens, torch.full_like(self.lengths, tokens.shape[1])

    def row(self, index: int) -> tuple[Tensor, Tensor]:
        """One row alone, as a batch of one without padding."""
        return self.tokens[index, None, : self.lengths[index]], self.lengths[index, None]

    def other_tokens(self, tokens: Tensor) -> Tensor:
        """Each token replaced by the next one of the vocabulary."""
        ids = torch.tensor(self.token_ids)
        return ids[(torch.searchsorted(ids, tokens.contiguous()) + 1) % len(ids)]

    def rare_batches(self, sizes: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches that suit picky modules: sorted, of full rows, of one row, of other sizes."""
        x, lengths = self.batch()
        order = lengths.argsort(descending=True)
        yield x[order], lengths[order]
        yield self.full_batch()
        yield self.row(int(lengths.argmax()))
        for size in sizes:
            rows = torch.arange(size) % len(x)
            yield x[rows], lengths[rows]

    def _settle(self, ways: list[Way]) -> None:
        """Find out how the module is called, and in which numbers it computes most exactly."""
        usual, tried = [self.batch()], {}
        for way in ways:
            tried[way] = self._try(way, usual)
            if tried[way] is None:
                return
        errors = " ".join(map(str, tried.values()))
        fitting = [way for way in ways if isinstance(tried[way], WrongShape)]
        if not fitting:  # only for some batches?
            rare = [*self.rare_batches(module_call.numbers_in(self.original, errors))]
            fitting = [way for way in ways if not isinstance(self._try(way, rare), ModuleRaised)]
        if fitting:
            self._try(fitting[0], usual)  # computes, or else says why not
            return
        if not self.is_padded:  # only for one number of steps?
            for width in module_call.widths_in(self.original, errors, self.tokens.shape[1]):
                self.draw((width,) * (len(LENGTHS) + (width == len(LENGTHS))))
                if any(self._try(way, [self.batch()]) is None for way in ways):
                    return
        embedding = token_embedding(self.original, self._vocab_size)
        is_out = self._table is None and "out of range" in errors
        if is_out and embedding and embedding.num_embeddings < self._vocab_size:
            raise ValueError(
                f"--vocab_size {self._vocab_size} is more than the {embedding.num_embeddings} rows "
                "of the embedding: no module would accept such ids"
            )
        needs = "other arguments than x, lengths and masks"
        needs = needs if self.is_padded else "more than x, which is all that --no_lengths gives"
        said = "; ".join(f"{way[0]} raised {error}" for way, error in tried.items())
        raise CannotCall(said or f"forward needs {needs}")

    def _try(self, way: Way, batches: list) -> ModuleRaised | WrongShape | None:
        """Copy the module in the most exact numbers with which it scores one of the batches.

        Returns what it raised where it does not: the last error, or the first wrong shape.
        """
        self.way, self.knows_padding, self._call = way
        tensors = (*self.original.parameters(), *self.original.buffers())
        own = [t.dtype for t in tensors if t.is_floating_point()][:1]
        error, rounded = None, set()

        def look(_: object, result: object) -> None:
            is_low = isinstance(result, Tensor) and result.dtype in (torch.float32, torch.float16)
            if is_low and (result.frac().nan_to_num() != 0).any():  # masks and lengths are exact
                rounded.add(result.dtype)  # half a network may be in float32

        for dtype in dict.fromkeys([torch.float64, *own]):
            self._set_precision(dtype)
            try:
                self.module = copied(self.original).to("cpu", dtype).eval()
            except NotImplementedError as raised:  # of tensors without data
                return ModuleRaised(str(raised))
            for batch in batches:
                rounded.clear()
                try:
                    with module_copy.Results(look):
                        self.scores(*batch)
                    self._set_precision(dtype, *rounded)
                    return None
                except WrongShape as wrong:
                    return wrong
                except ModuleRaised as raised:
                    error = raised
        return error

    def _set_precision(self, dtype: torch.dtype, *rounded_to: torch.dtype) -> None:
        """How exact the scores are, and which difference is rounding, relative to the largest."""
        self.dtype = dtype
        self.rounding = max(torch.finfo(each).eps for each in (dtype, *rounded_to))
        self.tolerance = self.rounding**0.5  # half of the digits

    def parts(self, *kinds: type) -> list[nn.Module]:
        return [part for part in self.module.modules() if isinstance(part, kinds)]

    def embedding(self) -> nn.Embedding | None:
        return token_embedding(self.module, self._vocab_size)

    def longer(self) -> Probe | None:
        """The same with rows that all have 48 steps; None if the module does not take them."""
        other = self._copy()
        other.draw((LONGER,) * len(LENGTHS))
        return other if other.can_score(*other.batch()) else None

    def _copy(self) -> Probe:
        other = copy.copy(self)
        other.module = copied(self.module)
        return other

    @torch.no_grad()
    def refreshed(self, seed: int = 0, noise: float = 0.0) -> Probe:
        """The same with the first weights of another seed, and perhaps noise on every parameter.

        What is wrong for any weights is wrong in the code; the rest is what training did.
        """
        other, made = self._copy(), set()
        torch.manual_seed(seed)
        for part in other.module.modules():
            for name in ("reset_parameters", "_reset_parameters"):
                if hasattr(part, name):
                    getattr(part, name)()
                    made |= {id(p) for p in part.parameters(recurse=False)}
        for parameter in other.module.parameters():
            if id(parameter) not in made and parameter.ndim > 1:
                parameter.copy_(torch.randn_like(parameter) / parameter.shape[-1] ** 0.5)
            parameter.add_(torch.randn_like(parameter), alpha=noise)
        return other

    def training(self, kind: type = nn.Module) -> Probe:
        """The same in training mode, or the parts of one kind alone in training mode."""
        other = self._copy()
        other.module.train()  # which may leave some parts as they are
        for part in other.module.modules():  # each call would change a spectral norm
            is_spectral = type(part).__name__ == "_SpectralNorm" or hasattr(part, "weight_u")
            part.training &= isinstance(part, kind) and not is_spectral
        return other

    @torch.no_grad()
    def awakened(self) -> Probe:
        """The same with a little noise on parameters that are 0, which hide what is behind them."""
        other = self._copy()
        torch.manual_seed(0)
        for parameter in [p for p in other.module.parameters() if not p.any()]:
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
        return other

    def trained(self) -> Probe:
        """The same after three updates of its parameters towards random scores."""
        other = self._copy()
        optimizer = torch.optim.SGD(other.module.parameters(), lr=0.1)
        for _ in range(3):
            scores = other.scores(*other.batch())
            optimizer.zero_grad()
            ((scores - weights_like(scores)) ** 2).mean().backward()
            optimizer.step()
        return other

    def scores(
        self, x: Tensor, lengths: Tensor, other_seed: int = 0, watch: list | None = None
    ) -> Tensor:
        """The module's scores of ids (N, T) with lengths (N,): (N, C), with their graph.

        Sets `modified`, the names of the arguments that the module changed in place.

        Args:
            other_seed: for other random numbers.
            watch: gets the vectors that the module is given, to differentiate with respect to.

        Raises:
            ModuleRaised: with the error's text and what the batch was.
            WrongShape: the result is not of shape (N, C).
        """
        given = x.T if self.time_major else x
        if self._table is not None:
            given = self._table[given].to(self.dtype)
            if watch is not None:
                watch.append(given.requires_grad_())
        arguments = {"x": given.clone(), "seq_lengths": lengths.clone()}
        module_copy.seed_all(self.seed + other_seed)
        default_dtype = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)  # of torch.zeros(...) in forward
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = self._call(self.module, *arguments.values())
        except (Exception, SystemExit) as error:
            batch = f"{len(x)} rows of lengths {lengths.tolist()} padded to {x.shape[1]} columns"
            raise ModuleRaised(f"{user_error(error)}; on {batch}") from error
        finally:
            torch.set_default_dtype(default_dtype)
        before = {"x": given, "seq_lengths": lengths}
        self.modified = [n for n in before if not torch.equal(before[n], arguments[n])]
        return module_call.scores_of(result, len(x))

    def can_score(self, x: Tensor, lengths: Tensor) -> bool:
        """Score a batch of a size or length that may not fit; says whether it does."""
        with suppress(ModuleRaised, WrongShape):
            self.scores(x, lengths)
            return True
        return False

    @torch.no_grad()
    def scores_moved(self, weights: Tensor, direction: Tensor, size: float = 1.0) -> Tensor:
        """The scores of the batch with some weights moved so far in a direction, (N, C)."""
        kept = weights.detach().clone()
        try:
            weights.data.add_(direction, alpha=size)
            return self.scores(*self.batch())
        finally:
            weights.data.copy_(kept)

    def scores_around_others(self) -> tuple[Tensor, Tensor]:
        """The scores of one batch before and after those of another one; 0 in place of NaN."""
        batch, others = self.batch(), self.batch(self.other_tokens(self.tokens))
        first, _, again = (self.scores(*b).nan_to_num() for b in (batch, others, batch))
        return first, again

    def weighted_sum(self, x: Tensor, lengths: Tensor, watch: list | None = None) -> Tensor:
        scores = self.scores(x, lengths, watch=watch)
        return (scores * weights_like(scores)).sum()

    def are_equal(self, scores: Tensor, others: Tensor) -> Tensor:
        """Whether rows of scores are the same but for rounding, (N,)."""
        return self._difference(scores, others) <= self.tolerance

    def are_touched(self, scores: Tensor, others: Tensor) -> Tensor:
        """Whether rows of scores differ by more than the last digits, (N,)."""
        return self._difference(scores, others) > 16 * self.rounding

    def _difference(self, scores: Tensor, others: Tensor) -> Tensor:
        """The largest difference in each row, relative to the largest score, (N,)."""
        scale = max(float(scores.detach().abs().max()), torch.finfo(self.dtype).tiny)
        return (scores - others).abs().amax(-1) / scale
