package android.widget;

import android.content.Context;
import android.view.ViewGroup;

/** Of Android's class, what the sample uses. */
public class ScrollView extends ViewGroup {
    public ScrollView(Context context) {
        super(context);
    }

    public boolean fullScroll(int direction) {
        return false;
    }
}
