// Builds the pages, the lab's script and one module for each view in src/widgets.
import { copyFileSync, readdirSync, rmSync } from 'node:fs';
import { build } from 'vite';

await build({ logLevel: 'warn' });
await build({ mode: 'lab', logLevel: 'warn' });
copyFileSync('lab.html', '../src/physalis/static/lab/index.html');
rmSync('../src/physalis/static/widgets', { recursive: true, force: true });
for (const file of readdirSync('src/widgets').filter((f) => /^[a-z]+\.ts$/.test(f))) {
  process.env.VIEW = file.replace('.ts', '');
  await build({ mode: 'widgets', logLevel: 'warn' });
}
