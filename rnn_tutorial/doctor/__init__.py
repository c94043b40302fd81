"""The doctor: what is wrong with a run, a module, data or a training step.

The command is `python -m rnn_tutorial.diagnose`. Findings are made by the checks of runs
(run_checks.py, on what evidence.py gathers), of any nn.Module (module_checks.py), of data and of
loops; watch.py looks at a run while it trains, and self_test.py puts in faults and counts.
"""
