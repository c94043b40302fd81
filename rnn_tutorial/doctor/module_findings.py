"""What each finding about a module means, what to try, and what it explains."""

from rnn_tutorial.doctor.findings import FindingTable

TABLE = FindingTable("""
[README_next.md#your-own-data]
cannot-call: I cannot call this module, so I do not know whether it is right
  --call FILE:FUNCTION, a function of (module, x, lengths) that returns scores; see also
    --num_features, --time_major, --padding_id and --no_lengths
module-raises: this batch is valid, so training or prediction stops here sooner or later
  {advice}
wrong-shape: a classifier gives each sequence, even a single one, a row of scores, (N, C)
  return the scores after pooling over time; of nn.LSTM's second result, (h_n, c_n), take h_n[-1];
    squeeze only a named dimension; or give --call a function that returns (N, C); a network that is
    meant to label each step, or to give several values for each sequence, as a forecast, cannot be
    checked here
input-modified: whatever uses the batch again, a second epoch or a metric, gets other data
  compute a new tensor: {which} = {which} - 1, not {which} -= 1; sort(), not sort_()
unregistered-parameters: no optimizer knows these weights, so they keep the values that they have
  {advice}
  explains: gradient-cut, gradient-wrong, backward-raises, dropout-in-evaluation
frozen-parameters: these weights keep the values that they have; only the others can learn
  requires_grad_(True); freeze by name what was trained before, and nothing else
layer-shared: these layers have the same weights, so the network has fewer than it seems
  nn.ModuleList(make_layer() for _ in range(3)), or num_layers=3; leave it if intended
symmetric-weights: units with equal weights compute the same and learn the same: they count as one
  random initial weights: nn.init.zeros_ and constant_ are for biases and for the last layer only
  explains: input-ignored, steps-*, unused-parameters, order-ignored, only-*
dropout-with-one-layer: dropout acts between layers only, so here it does nothing
  add nn.Dropout after the embedding or before the last linear map, or a layer
dropout-in-evaluation: dropout, or something else that is random, stays on: answers vary from call
    to call
  F.dropout(x, p, self.training), noise only while self.training, and a first state of zeros, not
    torch.randn or torch.empty; then check again, because the other checks need this
dropout-on-scores: scores of right classes are set to 0, and others enlarged: the loss stays large
  dropout before the last linear map, never after it
batch-statistics: rows are normalised by each other even in evaluation; one row has no statistics
  nn.LayerNorm for sequences; or track_running_stats=True
  explains: rows-mixed
padding-in-batch-statistics: batch normalisation counts the padding, so its means and variances
    depend on how long the longest row is, and evaluation uses others than training
  nn.LayerNorm for sequences; or normalise packed.data, or x[mask], alone
[README_next.md#the-task]
non-finite-scores: one such row makes the loss, and with it every weight, NaN
  {advice}
softmax-output: cross_entropy applies softmax itself; with two of them {floor}
  return the last linear map's scores; apply softmax only to show probabilities
softmax-over-batch: sequences compete with each other, and a batch of one is always sure
  softmax over classes is dim=-1; and cross_entropy wants none at all
relu-on-scores: an output at 0 gets no gradient; two classes at 0 cannot be told apart, and no
    answer can be below 0
  no activation after the last linear map, unless it is to count something
  explains: steps-forgotten
sigmoid-output: this is right for binary_cross_entropy; with cross_entropy {floor}
  to choose one of many classes, return the last linear map's scores
bounded-scores: scores after tanh or a normalisation are too close; with cross_entropy {floor}
  return the last linear map's scores; a cosine needs a scale, such as scores / 0.07
[README.md#2-digits-are-names-the-embedding]
wrong-padding-idx: the embedding of token {idx} gets no gradient and never changes
  padding_idx={padding_id}; or --padding_id {idx} if that is no token
ids-as-numbers: ids are names, but here a larger id is a larger amount: neighbours look alike
  nn.Embedding(V, E) before it
[README.md#3-what-output-and-h_n-hold]
view-for-transpose: view and reshape keep the order in memory: each step gets parts of many steps
  transpose(1, 2) in place of view or reshape, to swap steps and channels
  explains: steps-*
softmax-of-one: over one element softmax gives 1, whatever the score: these weights are not trained
    and all steps count the same
  softmax over the steps: dim=1 of scores (N, T) and (N, T, 1), dim=-1 of (N, 1, T)
batch-first-swapped: the network runs over the rows of the batch instead of over time: it sees one
    token of each sequence, and its neighbours in the batch instead of its past
  batch_first=True for an input (N, T, E); it belongs to the layer and, separately, to
    pack_padded_sequence and pad_packed_sequence; or say --time_major if your x is (T, N)
  explains: rows-mixed
state-reshaped: h_n is ({joined}, N, H); view and reshape to (N, {joined}·H) cut it in other places
  torch.cat([h_n[-2], h_n[-1]], dim=-1), or h_n.transpose(0, 1).flatten(1)
  explains: rows-mixed
rows-mixed: sequences have nothing to do with each other, but here answers depend on the batch
  look for a swapped axis, a view where a transpose is meant, or a mean or norm over dim 0
  explains: batch-of-one-differs
batch-of-one-differs: the answer depends on which sequences happen to be in the batch
  look for what is computed over dimension 0 (a mean, a norm) or from the longest length: a mean
    over time divides by each row's own, a maximum needs -inf in the padding
unused-parameters: they are not trained; often the wrong part of a result is read: h_n[0] is the
    first layer, h_n[-1] of a bidirectional network its backward direction alone
  use them in forward, or remove them
[README.md#5-two-directions]
bidirectional-last-step: there the backward direction has read one token: half of the width is
    wasted
  torch.cat([h_n[-2], h_n[-1]], dim=-1) of a packed sequence: both final states
  explains: unused-parameters
[README.md#7-padding-poisons-the-state]
last-step-of-padding: for short rows output[:, -1] is a step of the padding, and so is h_n if the
    network ran over it; after unpacking it is zero, and the row's tokens do not count
  h_n of a packed sequence; in one direction also output[torch.arange(N), seq_lengths - 1]
padding-leak: what comes after the end of a sequence counts, so an answer depends on its batch
  pack_padded_sequence before the recurrent layers, or a mask from seq_lengths where steps are
    pooled or attended to (the right way round: masked_fill fills where a mask is True); the state
    of a loop must stop at its length
padding-counted: padding enters as zeros: a mean divides by T, the longest length, instead of by the
    row's, or a maximum is taken with the zeros
  divide by seq_lengths; fill the padding with -inf before a maximum
padding-known-by-id: the module takes its mask from the ids (or relies on a zero embedding), not
    from seq_lengths: it is right only as long as the padding id is never a token
  mask = torch.arange(T) < seq_lengths[:, None]; or say --padding_id if the id is no token
[README.md#8-packing]
order-not-restored: rows sorted by length were not put back: most learn another row's label
  enforce_sorted=False sorts and restores by itself; by hand: scores[order.argsort()]
lengths-misordered: the lengths are in another order than the rows: long rows are cut, and short
    ones read padding
  sort both or none: enforce_sorted=False takes the rows as they are
[README.md#10-backpropagation-through-time]
state-kept-between-batches: the module remembers earlier batches: the sequences of one batch begin
    where unrelated ones ended, and a batch of another size fails
  begin each forward from a fresh state, without self.hidden; then run all checks again
state-detached: early tokens teach the network nothing: the state is cut off from its history
  no detach(), .data or no_grad between the steps of a sequence; it is right between the batches of
    one long text, and where you truncate on purpose
backward-raises: the module computes scores but cannot be trained
  do not write into a tensor that gradients need: torch.stack a list of the steps
gradient-cut: they keep their first values for ever: what comes before the cut is not trained
  no detach(), .data, no_grad, .item(), argmax or torch.tensor(...) on the way
gradient-wrong: part of the way from these weights to the scores is cut off or differentiated
    wrongly, so training goes in a wrong direction
  look for detach(), .data and no_grad on one of several paths, for in-place changes through .data,
    and for a custom autograd.Function; in a straight-through estimator it is intended
input-ignored: the scores are the same whatever the sequence says
  follow the tokens through forward: where are they replaced or multiplied by 0?
  explains: unused-parameters
only-last-step: nothing is carried from one step to the next
  pass the state on: h = cell(x[:, t], h); do not begin with a new one in the loop
  explains: unused-parameters
only-first-step: the answer is given before the sequence has been read
  read the last valid step, not output[:, 0], and not h_0 in place of h_n
  explains: unused-parameters
steps-ignored: part of each sequence is never read
  look at slices and loop bounds: range(T - 1), x[:, 1:], seq_lengths - 1 taken twice
order-ignored: the module sees which tokens there are, not their order
  attention needs position encodings, and a mean of embeddings a recurrent layer before it; leave
    it if order is not meant to count
[README.md#11-vanishing-and-exploding-gradients]
non-finite-gradient: the first update makes these weights NaN
  sqrt, norm, log, std and division have infinite slopes at 0, also behind torch.where: add a small
    constant before them
saturated-at-start: there tanh and sigmoid are flat: hardly any gradient gets through, and the first
    loss is very large
  PyTorch's own initial weights, or a standard deviation of about 1/√H; 1 for embeddings
  explains: steps-forgotten, unused-parameters
steps-forgotten: the code is right, but the state is saturated, or forgets these steps completely
  an orthogonal recurrent matrix, smaller weights, a smaller learning rate, GRU or LSTM
""")
found = TABLE.found
