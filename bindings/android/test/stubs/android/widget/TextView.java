package android.widget;

import android.content.Context;
import android.graphics.Typeface;
import android.view.KeyEvent;
import android.view.View;

/** Of Android's class, what the sample uses. */
public class TextView extends View {
    public TextView(Context context) {
        super(context);
    }

    public Typeface getTypeface() {
        return null;
    }

    public void setTypeface(Typeface typeface) {}

    public void setTextIsSelectable(boolean selectable) {}

    public CharSequence getText() {
        return null;
    }

    public final void setText(CharSequence text) {}

    public final void append(CharSequence text) {}

    public int getImeOptions() {
        return 0;
    }

    public void setImeOptions(int options) {}

    public void setSingleLine() {}

    public void setOnEditorActionListener(OnEditorActionListener listener) {}

    public interface OnEditorActionListener {
        boolean onEditorAction(TextView view, int action, KeyEvent event);
    }
}
