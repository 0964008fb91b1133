// Builds the pages and one module for each view in src/widgets.
import { readdirSync, rmSync } from 'node:fs';
import { build } from 'vite';

await build({ logLevel: 'warn' });
rmSync('../src/physalis/static/widgets', { recursive: true, force: true });
for (const file of readdirSync('src/widgets').filter((f) => /^[a-z]+\.ts$/.test(f))) {
  process.env.VIEW = file.replace('.ts', '');
  await build({ mode: 'widgets', logLevel: 'warn' });
}
