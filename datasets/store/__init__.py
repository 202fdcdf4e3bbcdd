"""The store: columns, shards, schema, reading and writing."""
