"""The law: one folder a case, with the judgment's figures, its holding as policy, and its replay."""
