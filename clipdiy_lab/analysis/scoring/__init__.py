"""Scoring trials on a dataset: one engine for a single evaluation and for a sweep, in one process and in many.

::

    block      trials that share one pass over the images of a source; counts them here, or lets workers do it
    counts     whole numbers only: pooled, by image, and in the replicates of a bootstrap
    shared     what the trials of a block share: text embeddings, searches for the best label, masks
    resume     what a killed run leaves: counts of ranges of images, and finished rows
    workers    the same counting on a cluster
"""
