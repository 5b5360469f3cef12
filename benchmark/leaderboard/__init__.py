"""Result files and published rows to Markdown, CSV and a web page; a pure function of those files."""
