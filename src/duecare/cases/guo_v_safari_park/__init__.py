"""Case 2, Guo v. Hangzhou Safari Park: (2019) 浙0111民初6971; appeal (2020) 浙01民终10940."""
