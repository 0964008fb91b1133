// What the server does with a model: texts as they are written, and measurements that take a while.
import type { DoseResponse, Edit, Step } from '../lib/records/steering';
import { base, Refused } from './data';

export interface SteerRequest {
  text?: string;
  messages?: { role: 'user'; content: string }[];
  edits: Edit[];
  tokens: number;
  temperature: number;
  seed: number;
}

async function post(path: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  const response = await fetch(base + path, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body), signal,
  });
  if (response.ok) return response;
  const said = await response.json().catch(() => null);
  throw new Refused(typeof said?.detail === 'string' ? said.detail : `The server answered ${response.status}.`);
}

/** Both texts, a token at a time. */
export async function* steer(asked: SteerRequest, signal: AbortSignal): AsyncGenerator<Step> {
  const response = await post('/api/steer', asked, signal);
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ''; ; ) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split('\n\n');
    rest = events.pop()!;
    for (const event of events) {
      const data = event.replace(/^data: /, '');
      if (data === '[DONE]') return;
      const step = JSON.parse(data) as Step | { detail: string };
      if ('detail' in step) throw new Refused(step.detail);
      yield step;
    }
  }
}

export const doses = async (feature: number): Promise<DoseResponse> => (await post('/api/dose-response', { feature })).json();
