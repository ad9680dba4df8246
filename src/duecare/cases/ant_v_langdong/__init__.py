"""Case 1, Ant v. Langdong: (2020) 浙8601民初1594; appeal (2020) 浙01民终4847."""
