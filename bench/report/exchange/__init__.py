"""Published versions in the formats that others read: Every Eval Ever, RO-Crate, in-toto."""
