"""Measurements for the tutorial that take longer than a test: many seeds, other libraries.

python -m rnn_tutorial.experiments list
python -m rnn_tutorial.experiments run solved --num_seeds 20
python -m rnn_tutorial.experiments.lesson
python -m rnn_tutorial.experiments render
"""
