"""Case 7, Wang v. Tencent: (2020) 粤0305民初825."""
