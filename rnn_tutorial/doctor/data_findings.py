"""What each finding about data means, what to try, and what it explains."""

from rnn_tutorial.doctor.findings import FindingTable

TABLE = FindingTable("""
[README_next.md#your-own-data]
mismatched-rows: inputs and labels do not come in pairs
  give one label for each row of x, with the batch as the first dimension
not-finite-data: one such value makes the loss NaN, and after it every weight
  drop or fill these values before training
inputs-not-normalised: tanh and sigmoid are flat at such values, and gradients are large
  subtract the mean of the training data and divide by their standard deviation
label-type: cross_entropy takes class numbers, int64 of shape (N,), or shares, floats of (N, C)
  targets.long(), targets.squeeze(1), targets.argmax(1), or numbers for the names; a regression loss
    takes floats as they are
label-range: C classes have the numbers 0 to C - 1; others raise an error or are ignored
  number the classes that occur: np.unique(labels, return_inverse=True)
unsplit-tokens: most tokens are a whole row and occur in few others, so little carries over to new
    rows
  put spaces between the tokens, or between all characters (A n n a) to have them read one by one;
    a loader may give a list of characters instead
  explains: leaking-*
unknown-token: if it stands for all unknown words, the network reads little of the rows
  fold case and split the rows as for the vocabulary, or take more words into it
single-class: the loss falls to nothing and nothing is learned
  look at the filter and at the column that the labels come from
  explains: label-range
too-many-classes: a class with one row cannot be learned
  exchange the columns if they are swapped; use a regression loss for numbers
  explains: *class*, leaking-*, contradicting-labels, evaluation-labels-wrong, label-range
near-equal-classes: one class is learned as several, which the inputs cannot tell apart
  strip and fold the names before they become class numbers
  explains: *class*, evaluation-labels-wrong
rare-class: such a class cannot be learned; often it is not a class but a header or a typo
  correct or drop these rows
  explains: imbalanced-classes, class-mismatch, label-range
imbalanced-classes: naming the most frequent class scores as high as a network that learned little
  weight the loss or draw every class equally often (WeightedRandomSampler; train_cls_rnn.py:
    --balance_classes), and judge by the balanced accuracy
[README.md#2-digits-are-names-the-embedding]
token-type: an embedding takes whole numbers, of shape (N, T)
  convert the ids once, where they are read: torch.tensor(ids, dtype=torch.long)
  explains: token-range
token-range: an embedding has no row for such an id: IndexError, or a CUDA assert
  number tokens from 0, give padding and unknown tokens an id, and count both in the size
  explains: wrong-lengths, leaking-*
[README.md#7-padding-poisons-the-state]
padding-on-other-side: the end of a row, where the network is read, is padding in one of the two
  pad both on the same side, and say how long each row is
  explains: length-mismatch, wrong-lengths, token-mismatch, shared-stream, evaluation-labels-wrong
other-padding: without lengths, or with padding_idx, the network treats the two in another way
  pad both by the same code, with the same id
wrong-lengths: the network reads padding as if it were input, or does not read all of the input
  take the length of each row before it is padded; is the order (x, lengths, targets), and is a
    mask 1 on what counts?
  explains: length-mismatch, shared-stream, leaking-*, contradicting-labels,
    evaluation-labels-wrong
labels-of-padding: unless the loss leaves these steps out, it counts the padding, which is easy and
    hides the rest
  pad the labels with -100, which cross_entropy passes over, or give it ignore_index
[README.md#9-the-whole-program]
repeated-samples: an epoch is long and shows few different rows, so they are learned by heart
  look at what __getitem__ does with its index, for a seed set in it and for a shared list
  explains: *class*, leaking-*, contradicting-labels, evaluation-labels-wrong, duplicated-workers
constant-inputs: the input does not tell the rows apart, so only the labels' shares can be learned
  print a few inputs after each step of preparation: vocabulary, truncation, padding
  explains: shared-stream, shifted-labels, unsplit-tokens, contradicting-labels,
    evaluation-labels-wrong
duplicated-workers: every worker draws the same samples, so a batch brings few new ones or none
  in __iter__ divide the samples by get_worker_info(), and seed each worker with its id
shifted-labels: inputs and labels are paired wrongly, so there is nothing to learn but guessing
  read input and label from the same sample; sort, filter and shuffle them together; where each
    step has a label, give a start token one, too
  explains: contradicting-labels, evaluation-labels-wrong
contradicting-labels: the label does not follow from the input, so there is nothing to learn but
    guessing
  look for a shuffle or sort of one column alone, a wrong column, two rules of labelling
  explains: evaluation-labels-wrong
sorted-by-class: each stretch teaches one class and undoes the one before
  shuffle the rows: DataLoader(..., shuffle=True)
leaking-token: a network may look for this token and learn nothing else
  remove it, unless the task is to find it
  explains: leaking-position
leaking-position: the target stands in the input, so the rest need not be read
  cut it off (of a forecast: is the target one step too early?), unless the task is to copy it
  explains: leaking-length
leaking-input: each target is the input at its own step, so that a network only has to copy it
  to predict the next token, shift the targets: x = row[:-1], y = row[1:]
leaking-length: a network may count steps and learn nothing else
  cut the rows of all classes alike, or sample equal lengths, unless the task is to count
[README_next.md#the-baseline]
shared-stream: the evaluation measures what was memorised, so it overstates what was learned
  split before you copy (oversampling, augmentation), and give evaluation a seed of its own
small-evaluation: differences of a few points between runs are chance
  score at least 385 samples, or all inputs if they can be listed; with fewer, average over several
    splits
length-mismatch: the score mixes lengths that were trained with lengths that were not
  train on these lengths, or report accuracy by length
  explains: evaluation-labels-wrong
token-mismatch: the network meets tokens in evaluation whose embeddings were never trained
  build one vocabulary from the training data, and prepare both sets by the same code
  explains: evaluation-labels-wrong, length-mismatch
class-mismatch: evaluation asks for other classes than those that were learned
  shuffle before splitting, and number the classes once, for both sets
  explains: evaluation-labels-wrong
evaluation-labels-wrong: the score is low however good the network is
  number classes and tokens once, for both sets, and check that lines and labels belong together
""")
found = TABLE.found
