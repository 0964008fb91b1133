// Light or dark: the system's, unless the reader chose the other here. public/theme.js reads the choice before painting.

const STORED = 'physalis-theme';

class Choice {
  /** "light", "dark", or "" for the system's. */
  name = $state(document.documentElement.dataset.theme ?? '');

  turn = (): void => {
    const system = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
    const next = (this.name || system) === 'dark' ? 'light' : 'dark';
    this.name = next === system ? '' : next;
    if (this.name) document.documentElement.dataset.theme = this.name;
    else delete document.documentElement.dataset.theme;
    if (this.name) localStorage.setItem(STORED, this.name);
    else localStorage.removeItem(STORED);
  };
}

export const theme = new Choice();
