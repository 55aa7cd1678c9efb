//! Cases that other stores try by name, as far as no other story is the same.
