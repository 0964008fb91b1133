import View from '../views/List.svelte';
import { afm } from './afm.svelte';

export default afm({ list: View });
