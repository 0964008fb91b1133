// Four products from the same views: the pages of the servers (default: of an atlas; `--mode compare`, `contents`,
// `graph`), one module a view for notebooks (`--mode widgets`, with VIEW naming which), and the scripts that the lab's pages (`--mode lab`) and the pages of a
// published atlas (`--mode site`) share.
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { readdirSync, readFileSync } from 'node:fs';
import { defineConfig, type Plugin } from 'vite';

const OUT = '../src/physalis/static';

/** The licences of what is bundled travel with it. */
function licences(packages: string[]): Plugin {
  return {
    name: 'licences',
    generateBundle() {
      const texts = packages.map((name) => {
        const folder = `node_modules/${name}`;
        const file = readdirSync(folder).find((f) => /^licen[cs]e/i.test(f));
        if (!file) throw new Error(`${name} has no licence file`);
        return `${name}\n\n${readFileSync(`${folder}/${file}`, 'utf8')}`;
      });
      this.emitFile({ type: 'asset', fileName: 'LICENCES.txt', source: texts.join('\n\n----\n\n') });
    },
  };
}

const FONTS = ['newsreader', 'source-sans-3', 'source-code-pro'].map((f) => `@fontsource-variable/${f}`);
const BUNDLED = ['svelte', 'd3-scale', 'd3-array', 'd3-format', 'd3-interpolate', 'd3-color', 'internmap', 'd3-time', 'd3-time-format'];

export default defineConfig(({ mode }) => {
  if (mode === 'widgets') {
    const view = process.env.VIEW!;
    return {
      plugins: [svelte({ compilerOptions: { css: 'injected' }, emitCss: false }), licences(BUNDLED)],
      publicDir: false,
      define: { 'process.env.NODE_ENV': '"production"' },
      build: {
        outDir: `${OUT}/widgets`,
        emptyOutDir: false,
        lib: { entry: `src/widgets/${view}.ts`, formats: ['es'], fileName: () => `${view}.js` },
        // Vite spares the white space of ES libraries; these are not libraries.
        rolldownOptions: { output: { minify: true } },
      },
    };
  }
  if (['lab', 'site', 'watch'].includes(mode)) {
    return {
      base: './',
      plugins: [svelte(), licences([...FONTS, ...BUNDLED])],
      build: {
        outDir: `${OUT}/${mode}`,
        emptyOutDir: true,
        assetsInlineLimit: 0,
        modulePreload: false,
        cssCodeSplit: false,
        // A plain script: browsers load no modules from files.
        rolldownOptions: {
          input: `src/${mode}/main.ts`,
          output: { format: 'iife', entryFileNames: `${mode}.js`, assetFileNames: (a) => (a.names[0]?.endsWith('.css') ? `${mode}.css` : '[name][extname]') },
        },
      },
    };
  }
  // Apart, so that each page is one script and one style: two inputs would share a third.
  const other = ['compare', 'contents', 'graph'].includes(mode);
  return {
    base: '/static/',
    plugins: [svelte(), licences([...FONTS, ...BUNDLED])],
    build: {
      outDir: `${OUT}/app`,
      emptyOutDir: !other,
      assetsInlineLimit: 0,
      rolldownOptions: { input: other ? `${mode}.html` : 'index.html' },
    },
    server: { proxy: { '/api': 'http://127.0.0.1:8123' } },
  };
});
