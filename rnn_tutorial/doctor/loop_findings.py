"""What each finding about a training loop means, what to try, and what it explains."""

from rnn_tutorial.doctor.findings import FindingTable

TABLE = FindingTable("""
[README.md#9-the-whole-program]
no-backward: without gradients no parameter can learn
  call loss.backward(), with its brackets, before optimizer.step()
loss-detached: the graph is cut between the network and the loss: nothing can be learned
  avoid .item(), .data, .detach(), argmax, torch.tensor(loss) and torch.no_grad() before the loss
gradient-cut-off: something behind these modules cuts the graph, so they keep their first weights
  leave out .detach(), .data, .numpy() and no_grad between the modules; requires_grad_(False) if you
    freeze them on purpose
gradient-zeroed-before-step: the update does not use the gradients that were computed for it
  call zero_grad(), then backward() for each part of the batch, then step()
  explains: clipping-without-effect
no-step: gradients are computed and never used
  call optimizer.step(), with its brackets; print its condition: step + 1 % k is step + (1 % k); if
    it comes only once in many batches, yield after it, not after each batch
nothing-moved: gradients are computed, and no parameter of the network is changed by them
  update in place, under torch.no_grad(): p -= lr * p.grad; p = p - … makes another tensor
parameters-never-moved: no optimizer that steps holds these parameters: they stay as they were made
  make the optimizer last, from this very network; freeze with requires_grad_(False)
gradient-not-zeroed: each update goes along the sum of all gradients since the start
  call zero_grad() once per update, on every optimizer, before backward() or after step()
  explains: not-finite-loss, update-too-large
weights-put-back: something undoes each update, so nothing is learned
  look for what writes to the weights after optimizer.step(): load_state_dict, copy_, .data
negated-loss: training makes the loss larger instead of smaller
  a cross-entropy takes no minus sign, a log-likelihood takes one; leave out maximize=True; by hand,
    write p -= lr * p.grad; where rewards are negative, it is intended
  explains: not-finite-loss, update-too-large
optimizer-rebuilt: its memory (momentum, the averages of Adam) is lost each time
  make the optimizer once, before the loop
broadcast-loss: each prediction is compared with every target: the network learns their mean
  give both the same shape: prediction.squeeze(1), or target.unsqueeze(1)
probabilities-in-loss: this loss applies softmax, or the sigmoid, itself: with two of them it hardly
    falls
  give it the last linear map's scores; apply softmax or sigmoid only to show probabilities
no-log-probabilities: nll_loss takes logarithms of probabilities; of others it falls for ever,
    whatever is learned
  give the scores to F.cross_entropy, or apply log_softmax over the axis of the classes first
  explains: negated-loss
view-for-transpose: the elements stay where they are, so the scores of several steps are mixed up
  exchange axes by permute or transpose: scores.transpose(1, 2)
padding-in-loss: padding counts like any other target: it is easy, so the loss looks too good
  give the loss the id of padding in the targets as ignore_index, or mask it
target-is-input: the network needs only to copy what it reads at the same step
  for the next token, read x[:, :-1] and predict x[:, 1:]; in an autoencoder this is intended
evaluation-mode-in-training: dropout is off, and batch normalisation uses old statistics
  call model.train() before training, and again after each evaluation
same-batch: the network sees one batch only, and learns it by heart
  create the iterator, or seed the generator, once before the loop: next(iter(loader)) starts over
[README_next.md#five-improvements]
update-too-small: at this pace nothing changes within a run
  raise the learning rate, to 1e-3 with Adam; clip to a norm of about 1
update-too-large: each step throws away what the steps before it have learned
  try a tenth of the learning rate, or less; average the loss instead of summing it
  explains: not-finite-loss
learning-rate-vanishes: the learning rate falls to nothing, so later steps change nothing
  call a scheduler that counts epochs once per epoch, or tell it the total number of steps
  explains: update-too-small
[README_next.md#the-recipe-solved]
clipping-without-effect: there is no gradient yet, or it was used already: nothing is clipped
  clip between backward() and step(), and pass the parameters of this network as a list
[README.md#11-vanishing-and-exploding-gradients]
not-finite-loss: after a NaN no further step can learn
  use torch.autograd.set_detect_anomaly(True); add 1e-8 inside a root, a logarithm, a division
  explains: loss-detached
[README.md#10-backpropagation-through-time]
graph-kept: memory grows with each step, though no later loss needs these graphs
  keep loss.item(), or output.detach(), in sums and lists for the log
state-not-detached: the state of one batch is carried to the next with its history, ever longer
  hidden = hidden.detach() between batches (of an LSTM, both tensors), without retain_graph=True
  explains: graph-kept
""")
found = TABLE.found
