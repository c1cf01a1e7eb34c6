//! Compiles operator subgraphs into fused engines.
