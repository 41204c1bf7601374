"""WER against minutes of one core: Whisper's architecture and Echo, from scratch, side by side.

Tasks, each of recorded speech given on the command line as a folder with train.jsonl and test.jsonl:

    digits     single words, official split (Free Spoken Digit Dataset)
    strings    1 to 5 of those recordings, of one speaker, joined with random pauses in 3 s
    speaker    single words of a speaker never trained on, another one for each seed
    sentences  read sentences, by characters

Every contender gets the same clips, augmentation, tokens, batches and one thread. The clock counts the CPU time of
the training process, so that a busy machine favours nobody; preparing the data and reading the test set stop it. For
all of them the learning rate falls linearly to a twentieth over the minutes given, and what is read at a mark is an
exponential average of the weights (0.98), on the same test set.
"""
