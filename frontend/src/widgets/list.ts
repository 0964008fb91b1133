import View from '../views/atlas/Features.svelte';
import { afm } from './afm.svelte';

export default afm({ list: View });
