"""What is made of the runs: statistics, claims, figures, the page and the PDF."""
