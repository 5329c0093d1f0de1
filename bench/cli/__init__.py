"""What may a user type? `main.main` is the grammar of `bench`; this room alone prints, and knows all others."""
