"""Training of the reader and the reranker: from passages and questions to adapters that can be shipped."""
