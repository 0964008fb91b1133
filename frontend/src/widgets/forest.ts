import View from '../views/Forest.svelte';
import { afm } from './afm.svelte';

export default afm({ forest: View });
