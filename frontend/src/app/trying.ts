// What the server reads with its model: texts in, features out.
import { MODES, type Answers, type Mode, type Questions, type TryFeatures, type Traced } from '../lib/records/trying';
import { base, Refused } from './data';

async function ask<T>(path: string, init: RequestInit): Promise<T> {
  let response: Response;
  try {
    response = await fetch(base + path, init);
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new Refused('The server does not answer. Was it stopped? Start it again with “physalis serve”, then ask again.');
  }
  const body = await response.json().catch(() => null);
  if (response.ok) return body as T;
  throw new Refused(typeof body?.detail === 'string' ? body.detail : `The server answered ${response.status}.`);
}

const post = <T>(path: string, body: unknown, signal: AbortSignal): Promise<T> =>
  ask(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body), signal });

export function tried<M extends Mode>(mode: M, asked: Questions[M], signal: AbortSignal): Promise<Answers[M]> {
  const { path } = MODES[mode];
  if (mode !== 'meaning') return post(path, asked, signal);
  // Asked by address alone: nothing of it is long.
  const query = new URLSearchParams(Object.entries(asked).map(([name, value]): [string, string] => [name, String(value)]));
  return ask(`${path}?${query}`, { signal });
}

export const traced = (asked: TryFeatures, signal: AbortSignal): Promise<Traced> => post('/api/try/feature', asked, signal);
