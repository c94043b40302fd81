"""Long measurements for the tutorial, their tables and figures, and the faults shown to the doctor.

python -m rnn_tutorial.experiments list
python -m rnn_tutorial.experiments run solved --num_seeds 20
python -m rnn_tutorial.experiments render
python -m rnn_tutorial.experiments notebooks

What is measured by other commands, each with its --help:

python -m rnn_tutorial.experiments.lesson               what parts 1 and 2 print and time
python -m rnn_tutorial.experiments.jacobians            how much of a gradient flows back
python -m rnn_tutorial.experiments.walk                 states for the figures
python -m rnn_tutorial.experiments.drift                where states go in a thousand digits
python -m rnn_tutorial.experiments.gallery NAME         the networks of the gallery
python -m rnn_tutorial.experiments.peers                JAX and Keras
python -m rnn_tutorial.experiments.doctor_self_test     the doctor on its own faults,
python -m rnn_tutorial.experiments.doctor_judge         on those of others,
python -m rnn_tutorial.experiments.doctor_advice        and what its advice brings
"""
