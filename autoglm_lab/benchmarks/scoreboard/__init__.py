"""Claims beside their verdicts, and the same verdicts from figures that are measured again on the reader's own machine."""
