// Before the first paint, so that a page chosen to be dark does not flash white. A classic script: modules come later.
for (const name of ["theme", "density"]) {
  const value = localStorage.getItem(`tapewatch.${name}`);
  if (value) document.documentElement.dataset[name] = value;
}
