"""A trained network that answers questions, and what it says about itself."""

from __future__ import annotations

from rnn_tutorial.evaluation.result import recorded_evaluation
from rnn_tutorial.evaluation.scorer import Scorer
from rnn_tutorial.model.saved import load_model
from rnn_tutorial.prediction.answers import Answers
from rnn_tutorial.proof.certificate import CertificateStatus, certificate_status
from rnn_tutorial.runs.checkpoint import Checkpoint
from rnn_tutorial.runs.terminal import shown
from rnn_tutorial.tasks.choose import load_task
from rnn_tutorial.tasks.reading import Questions
from rnn_tutorial.tasks.task import Task

_CERTIFICATES = {
    CertificateStatus.ABSENT: "",
    CertificateStatus.REFUSED: "; the certificate beside it does not hold",
    CertificateStatus.UNCHECKED: "; a certificate lies beside it, not checked",
    CertificateStatus.HOLDS: "; proved for every length (certificate checked)",
}


class Predictor:
    """A trained network and the task that it learned.

    Attributes:
        model: the network.
        task: reads questions, names tokens and classes, and may know the right answers.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.model = load_model(checkpoint)
        self.task: Task = load_task(checkpoint)
        self._checkpoint, self.folder = checkpoint, checkpoint.path.parent
        self._recorded = recorded_evaluation(checkpoint)  # the published scripts record none
        self._scorer = Scorer(self.model)

    def introduce(self) -> str:
        """Which run, step and seed answers, and how far it can be trusted."""
        checkpoint, folder = self._checkpoint, self.folder
        evaluation = self._recorded or self.task.evaluate(self.model)
        return shown(
            f"{folder} at step {checkpoint.step:,}, "
            f"seed {checkpoint.config.get('seed', 'unknown')}, trained on {self.task.trained_on}: "
            f"{evaluation.describe()}"
            + _CERTIFICATES[certificate_status(checkpoint, self.model, self.task.machine)]
        )

    def answer(self, questions: Questions, num_before: int = 0) -> Answers:
        """Answer questions, at least one, before which about so many were asked in the stream."""
        task, ids, lengths = self.task, questions.ids, questions.lengths
        is_trained = (lengths >= task.trained_lengths[0]) & (lengths <= task.trained_lengths[-1])
        if task.machine is None:
            scores = self._scorer.scores(ids, lengths, num_before)
            by_class = scores.softmax(dim=1).numpy()
            best = scores.argmax(dim=1).numpy(), by_class.max(axis=1)
            return Answers(questions, *best, None, is_trained, by_class)
        best = self._scorer.classify(ids, lengths, num_before)
        return Answers(questions, *best, task.machine.answer(ids, lengths), is_trained)
