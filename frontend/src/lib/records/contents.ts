// What a server of several artefacts shows; see physalis.web.contents.records.

export interface Picture {
  kind: 'dots' | 'curve' | 'bars';
  x: number[];
  y: number[];
  group: number[];
  part: number[];
}

export interface Entry {
  kind: 'atlas' | 'graph' | 'comparison' | 'tree' | 'run' | 'lab';
  name: string;
  path: string;
  model: string;
  site: string;
  dictionaries: string;
  sizes: number[];
  fvu: number[];
  state: string;
  made: number | null;
  picture: Picture | null;
  lack: string;
}

export interface Line {
  what: string;
  name: string;
  told: string;
  command: string;
}

export interface Contents {
  name: string;
  entries: Entry[];
  others: Line[];
}
