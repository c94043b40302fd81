"""What each finding about a run means, what to try, and what it explains.

Advice begins with its flags; whether they help is measured by `experiments.doctor_advice`.
"""

from rnn_tutorial.doctor.findings import FindingTable

TABLE = FindingTable("""
[README_next.md#when-your-own-network-fails]
not-finite-loss: the updates overshot further and further until the numbers overflowed
  {rate} --max_grad_norm 1; a warmup (--warmup_step) helps too
  explains: loss-at-chance, learned-little, *-gradient, *-units, loss-spikes, gradient-*
learning-rate-too-high: the updates jump over the solution
  {rate}{momentum}
  explains: missing-*, *-units, *-gradient, gradient-*, loss-*, oscillating-loss, too-few-steps,
    warmup-too-long
learning-rate-too-low: at this pace the weights hardly move from their first values
  {rate}
  explains: vanishing-gradient, missing-short-lengths, too-few-steps
learning-rate-falls-too-early: the schedule ends the training long before the last update
  {schedule}; the schedules count updates (--lr_step_every) or evaluations (--plateau_patience),
    not epochs
  explains: learning-rate-*, missing-*, vanishing-gradient, dead-units, too-few-steps
warmup-too-long: it takes half of the run or more, which leaves few updates at the full rate
  --warmup_step {warmup}; about a tenth of the updates
  explains: learning-rate-too-low, too-few-steps, stopped-too-early, missing-short-lengths
stopped-too-early: early stopping took a plateau for the end
  --early_stopping_patience 0; or a patience that is longer than a plateau
  explains: too-few-steps, missing-short-lengths
too-few-steps: the training was stopped while it was still getting better
  --total_steps {steps}
batch-too-small: an update follows one or two examples and undoes what others taught
  --batch_size 32
  explains: missing-short-lengths, loss-spikes, oscillating-loss, too-few-steps
truncated-too-short: early tokens get no gradient from the answer
  --bptt_steps 0{short}; or as many steps as the longest sequence has
  explains: vanishing-gradient, missing-short-lengths
[README_next.md#five-improvements]
missing-warmup: Adam's first updates are large but rest on one batch, which ruins a deep network
  --warmup_step {warmup} {rate}
  explains: learning-rate-too-high, *-units, *-gradient, missing-short-*, too-few-steps
network-too-small: so few numbers cannot hold what tells the classes apart
  {wider}
  explains: learning-rate-*, missing-*, *-units, vanishing-gradient, too-few-steps, too-much-*
[README_next.md#states-that-last]
too-much-dropout: so few units are left in training that no update fits the whole network
  --dropout 0
  explains: missing-*, learning-rate-*, *-units, *-gradient, too-few-steps, oscillating-loss
too-much-weight-decay: the weights are pulled to 0 faster than the loss can hold them
  --weight_decay 0; decay that is decoupled from the gradient (--optimizer adamw) takes 0.01 to 0.5
  explains: learning-rate-*, missing-*, *-units, *-gradient, too-few-steps
too-much-noise: the noise is larger than what tells the tokens apart
  --embed_noise 0; 0.3 is usual, where embeddings begin with a size of 1
  explains: missing-*, learning-rate-*, too-few-steps, vanishing-gradient
unstable-at-length: the states drift with every step until they are mistaken for their neighbours
  --embed_noise 0.3 --weight_decay 0.5 --optimizer adamw; --contraction 1 makes them more stable
[README_next.md#the-recipe-solved]
saturated-units: tanh is flat there: hardly any gradient gets through
  --init orthogonal; smaller first weights, or a lower --lr
  explains: *-gradient, gradient-*, missing-*, dead-units, learning-rate-too-low, too-few-steps
dead-units: a unit that never changes carries no information and gets no gradient
  {flags}; or a lower --lr, less --weight_decay
  explains: vanishing-gradient, gradient-*, missing-*, learning-rate-too-low, too-few-steps
exploding-gradient: every step back multiplies the gradient: the first steps drown out all others
  --max_grad_norm 1 --init orthogonal; or shorter sequences
  explains: gradient-*, missing-*, saturated-units, learning-rate-too-low, too-few-steps
gradient-always-clipped: clipping is for rare large gradients; here it sets the size of all updates
  --max_grad_norm {norm:g}; or 0
  explains: learning-rate-too-low, missing-short-lengths, too-few-steps
gradient-never-clipped: no gradient, not even one a hundred times the largest, is changed
  --max_grad_norm {norm:g}; or 0, if you want no clipping
loss-spikes: single updates throw the network far back
  {rate} --max_grad_norm 1
oscillating-loss: the updates are too large to settle: where training ends is chance
  {rate} --max_grad_norm 1; or a larger --batch_size
  explains: loss-spikes
[README_next.md#gru-lstm-transformer]
shut-gates: a forget gate near 0 keeps nothing of the state, and one near 1 keeps all of it
  --forget_bias 1
  explains: vanishing-gradient, missing-short-lengths, too-few-steps, learning-rate-*
vanishing-gradient: the answer cannot teach the network what to do with the first tokens
  {flags}; or shorter sequences{short}
  explains: missing-short-lengths, gradient-*, too-few-steps
[README_next.md#single-digits]
missing-short-lengths: the label of a single token names the state that it leads to; without such
    sequences each state is seen only through others, and may never become one stable state
  --min_seq_len 1
  explains: too-few-steps
[README_next.md#your-own-data]
evaluation-labels-wrong: evaluation names the classes differently from training
  give both files one list of classes, in one order
  explains: overfitting
overfitting: the training examples are known by heart, and teach {little} about others
  {remedy}
[README_next.md#the-task]
loss-at-chance: nothing was learned, and no other check says why: suspect data and labels
  read a few examples: does the label follow from the tokens? can the network fit a single batch?
learned-little: more than guessing, but far from the task, and no other check says why
  a larger network and more updates (--hidden_dim, --total_steps); then read a few examples: does
    the label follow from the tokens?
""")
found = TABLE.found
