"""Long measurements for the tutorial, their tables and figures, and the faults shown to the doctor.

python -m rnn_tutorial.experiments list
python -m rnn_tutorial.experiments run solved --num_seeds 20
python -m rnn_tutorial.experiments.lesson
python -m rnn_tutorial.experiments render
python -m rnn_tutorial.experiments notebooks
"""
