import View from '../views/atlas/Summary.svelte';
import { afm } from './afm.svelte';

export default afm({ summary: View });
