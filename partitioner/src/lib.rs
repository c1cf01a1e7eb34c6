//! Carves runnable subgraphs out of a dataflow graph.
