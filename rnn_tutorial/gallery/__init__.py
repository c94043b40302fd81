"""The gallery: four other tasks of recurrent networks, each in one file with its loop visible.

Beside each lie the modules that are made for it, and corpus, which reads the texts of two of them
and the files of the others:

text        text_sampling, text_measures, compressors, coder, coded_files
addition    sums, pairs, beam, translator, addition_report, attention_picture
forecast    series, column, windows, baselines, comparison
highlight   source_classes, source_windows, label_scores, colored_source

All four share command, settings, run, checkpoint and report.
"""
