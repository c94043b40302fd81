"""A trained network that answers questions, and what it says about itself."""

from __future__ import annotations

from types import SimpleNamespace

from rnn_tutorial.data.examples import Vocabulary
from rnn_tutorial.evaluation.exact import Evaluation, evaluate
from rnn_tutorial.evaluation.scorer import Inference
from rnn_tutorial.machines.digit_sum import SumModulo
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.prediction.answers import Answers
from rnn_tutorial.proof.check import InvalidCertificate, claimed_hash
from rnn_tutorial.runs.checkpoint import Checkpoint, weights_hash
from rnn_tutorial.tasks.digit_lines import DigitReader
from rnn_tutorial.tasks.reading import Questions, WordReader


class Predictor:
    """A trained network and the task that it learned.

    Attributes:
        model: the network.
        task: reads questions, names tokens and classes, and may know the right answers.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.model: RnnClsNet = checkpoint.build_model().eval()
        self.task = _task_of(checkpoint)
        self._checkpoint = checkpoint
        self._scorer = Inference(self.model)

    def introduce(self) -> str:
        """Which run, step and seed answers, and how far it can be trusted."""
        checkpoint, lengths = self._checkpoint, self.task.trained_lengths
        return (
            f"{checkpoint.path.parent} at step {checkpoint.step:,}, "
            f"seed {checkpoint.config.get('seed', 'unknown')}, trained on lengths {lengths[0]} to "
            f"{lengths[-1]}: {self._evaluation().describe()}"
            + ("; proved for every length" if _is_proved(checkpoint) else "")
        )

    def answer(self, questions: Questions) -> Answers:
        """Answer questions, at least one."""
        task, lengths = self.task, questions.lengths
        predictions, probabilities = self._scorer.classify(questions.ids, lengths)
        return Answers(
            questions,
            predictions,
            probabilities,
            task.machine and task.machine.answer(questions.ids, lengths),
            (lengths >= task.trained_lengths[0]) & (lengths <= task.trained_lengths[-1]),
        )

    def _evaluation(self) -> Evaluation:
        """As recorded, or made now: the published scripts record none."""
        recorded = self._checkpoint.evaluation
        return Evaluation(**recorded) if recorded else self.task.evaluate(self.model)


def _is_proved(checkpoint: Checkpoint) -> bool:
    """True if a certificate for these weights lies beside the checkpoint; it is not checked."""
    if not checkpoint.build_model().is_plain:
        return False
    try:
        claimed = claimed_hash(checkpoint.path.with_suffix(".certificate.npz"))
    except InvalidCertificate:
        return False
    return claimed == weights_hash(checkpoint.weights)


def _task_of(checkpoint: Checkpoint) -> SimpleNamespace:
    """The task that the network of a checkpoint learned."""
    config, examples = checkpoint.config, checkpoint.examples
    lengths = range(config["min_seq_len"], config["max_seq_len"] + 1)
    if examples is not None:
        reader = WordReader(Vocabulary(examples["vocabulary"], examples["class_names"]))
        return SimpleNamespace(
            machine=None,
            tokens=examples["vocabulary"],
            classes=examples["class_names"],
            trained_lengths=lengths,
            instruction="Type tokens as in the training examples, separated by spaces; quit ends.",
            read=reader.read,
            read_lines=reader.read_lines,
        )
    max_number = config["max_number"]
    machine, reader = SumModulo(max_number), DigitReader(max_number)
    return SimpleNamespace(
        machine=machine,
        tokens=machine.tokens,
        classes=machine.classes,
        trained_lengths=lengths,
        instruction=f"Type digits from 0 to {max_number}, such as 1 2 3; quit ends.",
        read=reader.read,
        read_lines=reader.read_lines,
        evaluate=lambda model: evaluate(model, lengths[0], lengths[-1], max_number),
    )
