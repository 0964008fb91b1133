// Panels in words, for those who do not see them and for the point under the pointer.
import { extent } from 'd3-array';
import { number } from '../text/format';
import type { Panel } from '../records/lab';

const range = (values: (number | null)[]): string => {
  const [low, high] = extent(values.filter((v): v is number => v !== null));
  return low === undefined ? 'nothing' : low === high ? number(low) : `${number(low)} to ${number(high!)}`;
};

const some = (names: string[]) => [...new Set(names)].filter(Boolean).slice(0, 8).join(', ');

export function describe(panel: Panel): string {
  switch (panel.kind) {
    case 'lines':
    case 'dots': {
      const each = panel.series
        .filter((s) => !s.faint)
        .slice(0, 8)
        .map((s) => `${s.name}: ${range(s.y)}`);
      const rules = panel.rules.map((r) => `${r.label} at ${number(r.at)}`);
      const what = panel.kind === 'lines' ? 'Lines' : 'Points';
      return `${panel.title}. ${what} of ${panel.y.label || 'values'} against ${panel.x.label}. ${[...each, ...rules].join('; ')}.`;
    }
    case 'vectors': {
      const lengths = panel.x.map((x, i) => Math.hypot(x, panel.y[i]));
      const names = panel.names.length ? ` (${some(panel.names)})` : '';
      return `${panel.title}. ${panel.x.length} directions in the plane${names}, of length ${range(lengths)}.`;
    }
    case 'cells': {
      const size = `${panel.values.length} rows and ${panel.values[0]?.length ?? 0} columns`;
      const values = panel.scale === 'classes' ? some(panel.classes) : range(panel.values.flat());
      return `${panel.title}. ${size} of cells: ${values}.`;
    }
    case 'stacks':
      return `${panel.title}. ${panel.bars.length} bars of ${panel.value.label || 'parts'}${panel.names.length ? `: ${some(panel.names)}` : ''}.`;
    case 'words':
      return panel.title;
  }
}
