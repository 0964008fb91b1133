import View from '../views/Summary.svelte';
import { afm } from './afm.svelte';

export default afm({ summary: View });
