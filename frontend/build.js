// Builds the pages, the scripts that the lab's pages and a published atlas share, the page of a run in training, and one module for each view in
// src/widgets.
import { copyFileSync, readdirSync, rmSync } from 'node:fs';
import { build } from 'vite';

await build({ logLevel: 'warn' });
for (const mode of ['compare', 'contents', 'graph']) await build({ mode, logLevel: 'warn' });
for (const mode of ['lab', 'site', 'watch']) {
  await build({ mode, logLevel: 'warn' });
  copyFileSync(`${mode}.html`, `../src/physalis/static/${mode}/index.html`);
}
rmSync('../src/physalis/static/widgets', { recursive: true, force: true });
for (const file of readdirSync('src/widgets').filter((f) => /^[a-z]+\.ts$/.test(f))) {
  process.env.VIEW = file.replace('.ts', '');
  await build({ mode: 'widgets', logLevel: 'warn' });
}
