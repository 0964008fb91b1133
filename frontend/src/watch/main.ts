import { mount } from 'svelte';
import '../app/app.css';
import App from './App.svelte';

const { run, base = '' } = JSON.parse(document.getElementById('page')?.textContent || '{}');
mount(App, { target: document.getElementById('app')!, props: { begin: run, base } });
