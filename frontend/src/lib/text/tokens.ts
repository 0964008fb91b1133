// Tokens as they are shown: white space made visible without being made loud.

/** A run of a token's text. `mark` runs stand for what would not be seen: white space, or a cut, told in `title`. */
export interface Piece {
  text: string;
  mark: boolean;
  title?: string;
}

/** At the end of a token whose last character the next one completes: physalis.corpora.characters.CUT. */
export const CUT = '\u2060';
const CUTS: Piece = { text: '¦', mark: true, title: 'The character that follows begins in this token: the cut lies inside it' };

const INVISIBLE: Record<string, string> = { '\n': '↵', '\t': '⇥', '\r': '␍', '\u00a0': '⍽', '\u200b': '∅' };

/**
 * The pieces of a token. A space before a word stays a space; other white space gets a mark: spaces that stand alone,
 * follow a word or come in runs, line ends, tabs.
 */
export function pieces(token: string): Piece[] {
  const out: Piece[] = [];
  const push = (text: string, mark: boolean) => {
    const last = out.at(-1);
    if (last && last.mark === mark && !last.title) last.text += text;
    else out.push({ text, mark });
  };
  const characters = [...token];
  characters.forEach((c, i) => {
    if (c === ' ') {
      const next = characters[i + 1];
      const leads = i === 0 && next !== undefined && next.trim() !== '';
      push(leads ? ' ' : '·', !leads);
    } else if (c === CUT) out.push({ ...CUTS });
    else if (c in INVISIBLE) push(INVISIBLE[c], true);
    else if (c < ' ') push('�', true);
    else push(c, false);
  });
  return out.length ? out : [{ text: '∅', mark: true }];
}

/** A token alone, as in a table: its leading space shows too. */
export function alone(token: string): Piece[] {
  return token.startsWith(' ') && token.trim() !== ''
    ? [{ text: '·', mark: true }, ...pieces(token.slice(1))]
    : pieces(token);
}

/** How a token reads aloud. */
export function spoken(token: string): string {
  const text = token.replaceAll(CUT, '').trim();
  if (text) return text;
  if (token.includes(CUT)) return 'part of a character';
  if (token.includes('\n')) return 'line break';
  if (token.includes('\t')) return 'tab';
  return token.length === 1 ? 'space' : `${token.length} spaces`;
}
