import { mount } from 'svelte';
import '../app/app.css';
import App from './App.svelte';

const record = document.getElementById('page')?.textContent;
mount(App, { target: document.getElementById('app')!, props: { inlined: JSON.parse(record || '{}') } });
