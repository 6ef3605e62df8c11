"""From run folders to tables and pictures: what `emofair report` writes."""
