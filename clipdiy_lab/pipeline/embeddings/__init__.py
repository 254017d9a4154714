"""On-disk embeddings of a dataset: encode once, then fuse with any prompts or weights.

========== ===========================================================================================
module     what it does
========== ===========================================================================================
variables  which arrays a store holds, and how many bytes they take
identity   what a store was made of, and what differs from what is asked
layout     files on disk: header, shards, records
locks      one writer per shard; a killed writer's claim ends with it
shards     a shard as bytes: the same arrays always give the same ones
write      `embed`, and `Job`, whose unit of work is one shard
read       `EmbeddingStore`, shard by shard and image by image
opened     `open_store` as one dataset, `as_encoded` image by image
upkeep     info, verify, prune, export
========== ===========================================================================================
"""
