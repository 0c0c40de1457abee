//! Nothing of its own: the dependencies are the product.
