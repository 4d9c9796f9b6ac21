//! Orders as people write them, and as nobody should.
