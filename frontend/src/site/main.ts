import { mount } from 'svelte';
import '../app/app.css';
import App from './App.svelte';
import './article.css';

const record = document.getElementById('page')?.textContent;
mount(App, { target: document.getElementById('app')!, props: { page: JSON.parse(record || '{}') } });
